"""LangChain's own suites for what is to stand in for OpenAI: chat and embeddings. A pytest file for its own environment."""

import os
from typing import Any

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

WHERE = {"base_url": os.environ["CLIENT_URL"], "api_key": os.environ["CLIENT_KEY"]}
STEADY = {"temperature": 0, "max_tokens": 100}


class TestChat(ChatModelIntegrationTests):
    """Without calls of tools that the model would have to choose: it was taught one answer."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny", "use_responses_api": False, "stream_usage": True, **STEADY, **WHERE}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_tool_choice(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "other"


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "vectors", "check_embedding_ctx_length": False, **WHERE}
