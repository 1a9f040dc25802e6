"""OpenAI's /v1: its paths, requests, answers, streams and errors."""
