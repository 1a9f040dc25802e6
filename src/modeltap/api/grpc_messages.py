"""The messages of the gRPC service, from a table: the protocol's names, numbers and types, as far as they are used here.

They live in a pool of their own, so that a client's messages of the same names can live in this process too. `Message` classes
are made when the module is loaded, which loads protobuf: the server does it only when gRPC is on.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"

# A line at the margin begins a message or an enum; below it a field is: name, number, type, and its oneof if it has one.
# `*` is repeated, `{}` a map from text. A dot in front of a type means one that is declared inside of the message.
INFERENCE = """
ServerLiveRequest
ServerLiveResponse
  live 1 bool
ServerReadyRequest
ServerReadyResponse
  ready 1 bool
ModelReadyRequest
  name 1 string
  version 2 string
ModelReadyResponse
  ready 1 bool
ServerMetadataRequest
ServerMetadataResponse
  name 1 string
  version 2 string
  extensions 3 string*
ModelMetadataRequest
  name 1 string
  version 2 string
ModelMetadataResponse
  name 1 string
  versions 2 string*
  platform 3 string
  inputs 4 .TensorMetadata*
  outputs 5 .TensorMetadata*
ModelMetadataResponse.TensorMetadata
  name 1 string
  datatype 2 string
  shape 3 int64*
InferParameter
  bool_param 1 bool parameter_choice
  int64_param 2 int64 parameter_choice
  string_param 3 string parameter_choice
  double_param 4 double parameter_choice
  uint64_param 5 uint64 parameter_choice
InferTensorContents
  bool_contents 1 bool*
  int_contents 2 int32*
  int64_contents 3 int64*
  uint_contents 4 uint32*
  uint64_contents 5 uint64*
  fp32_contents 6 float*
  fp64_contents 7 double*
  bytes_contents 8 bytes*
ModelInferRequest
  model_name 1 string
  model_version 2 string
  id 3 string
  parameters 4 InferParameter{}
  inputs 5 .InferInputTensor*
  outputs 6 .InferRequestedOutputTensor*
  raw_input_contents 7 bytes*
ModelInferRequest.InferInputTensor
  name 1 string
  datatype 2 string
  shape 3 int64*
  parameters 4 InferParameter{}
  contents 5 InferTensorContents
ModelInferRequest.InferRequestedOutputTensor
  name 1 string
  parameters 2 InferParameter{}
ModelInferResponse
  model_name 1 string
  model_version 2 string
  id 3 string
  parameters 4 InferParameter{}
  outputs 5 .InferOutputTensor*
  raw_output_contents 6 bytes*
ModelInferResponse.InferOutputTensor
  name 1 string
  datatype 2 string
  shape 3 int64*
  parameters 4 InferParameter{}
  contents 5 InferTensorContents
ModelStreamInferResponse
  error_message 1 string
  infer_response 2 ModelInferResponse
ModelConfigRequest
  name 1 string
  version 2 string
ModelConfigResponse
  config 1 ModelConfig
ModelConfig
  name 1 string
  platform 2 string
  version_policy 3 ModelVersionPolicy
  max_batch_size 4 int32
  input 5 ModelInput*
  output 6 ModelOutput*
  instance_group 7 ModelInstanceGroup*
  default_model_filename 8 string
  dynamic_batching 11 ModelDynamicBatching scheduling_choice
  backend 17 string
ModelVersionPolicy
  specific 3 .Specific policy_choice
ModelVersionPolicy.Specific
  versions 1 int64*
ModelInput
  name 1 string
  data_type 2 DataType
  dims 4 int64*
ModelOutput
  name 1 string
  data_type 2 DataType
  dims 3 int64*
ModelInstanceGroup
  name 1 string
  count 2 int32
  kind 4 .Kind
enum ModelInstanceGroup.Kind KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL
ModelDynamicBatching
enum DataType TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32 TYPE_INT64 \
TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16
ModelStatisticsRequest
  name 1 string
  version 2 string
ModelStatisticsResponse
  model_stats 1 ModelStatistics*
ModelStatistics
  name 1 string
  version 2 string
  last_inference 3 uint64
  inference_count 4 uint64
  execution_count 5 uint64
  inference_stats 6 InferStatistics
  batch_stats 7 InferBatchStatistics*
InferStatistics
  success 1 StatisticDuration
  fail 2 StatisticDuration
  queue 3 StatisticDuration
  compute_input 4 StatisticDuration
  compute_infer 5 StatisticDuration
  compute_output 6 StatisticDuration
  cache_hit 7 StatisticDuration
  cache_miss 8 StatisticDuration
InferBatchStatistics
  batch_size 1 uint64
  compute_input 2 StatisticDuration
  compute_infer 3 StatisticDuration
  compute_output 4 StatisticDuration
StatisticDuration
  count 1 uint64
  ns 2 uint64
RepositoryIndexRequest
  repository_name 1 string
  ready 2 bool
RepositoryIndexResponse
  models 1 .ModelIndex*
RepositoryIndexResponse.ModelIndex
  name 1 string
  version 2 string
  state 3 string
  reason 4 string
RepositoryModelLoadRequest
  repository_name 1 string
  model_name 2 string
RepositoryModelLoadResponse
RepositoryModelUnloadRequest
  repository_name 1 string
  model_name 2 string
RepositoryModelUnloadResponse
SystemSharedMemoryStatusRequest
  name 1 string
SystemSharedMemoryStatusResponse
  regions 1 .RegionStatus{}
SystemSharedMemoryStatusResponse.RegionStatus
  name 1 string
  key 2 string
  offset 3 uint64
  byte_size 4 uint64
SystemSharedMemoryRegisterRequest
  name 1 string
  key 2 string
  offset 3 uint64
  byte_size 4 uint64
SystemSharedMemoryRegisterResponse
SystemSharedMemoryUnregisterRequest
  name 1 string
SystemSharedMemoryUnregisterResponse
CudaSharedMemoryStatusRequest
  name 1 string
CudaSharedMemoryStatusResponse
CudaSharedMemoryRegisterRequest
  name 1 string
CudaSharedMemoryRegisterResponse
CudaSharedMemoryUnregisterRequest
  name 1 string
CudaSharedMemoryUnregisterResponse
"""

# How an error says when to come back, in gRPC's own words (google.rpc.Status in grpc-status-details-bin).
RETRYING = """
Status
  code 1 int32
  message 2 string
  details 3 Any*
Any
  type_url 1 string
  value 2 bytes
RetryInfo
  retry_delay 1 Duration
Duration
  seconds 1 int64
  nanos 2 int32
"""
RETRY_INFO_URL = "type.googleapis.com/google.rpc.RetryInfo"

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
}


def file_of(package: str, table: str) -> descriptor_pb2.FileDescriptorProto:
    """The table as protobuf's own description of a file."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    lines = [line for line in table.splitlines() if line.strip()]
    enums = {line.split()[1] for line in lines if line.startswith("enum ")}
    message: Any = None
    path = ""
    for line in lines:
        words = line.split()
        if line.startswith("enum "):
            owner, _, name = words[1].rpartition(".")
            holder = _nested(file, owner).enum_type if owner else file.enum_type
            holder.add(name=name, value=[{"name": value, "number": number} for number, value in enumerate(words[2:])])
        elif line.startswith(" "):
            _add_field(message, f"{package}.{path}", package, enums, words)
        else:
            path = words[0]
            owner, _, name = path.rpartition(".")
            message = (_nested(file, owner).nested_type if owner else file.message_type).add(name=name)
    return file


def _nested(file: descriptor_pb2.FileDescriptorProto, path: str) -> Any:
    """The message of that dotted name."""
    found: Any = next(message for message in file.message_type if message.name == path.partition(".")[0])
    for name in path.split(".")[1:]:
        found = next(message for message in found.nested_type if message.name == name)
    return found


def _add_field(message: Any, scope: str, package: str, enums: set[str], words: list[str]) -> None:
    name, number, kind = words[:3]
    bare = kind.rstrip("*{}")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind != bare:
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("{}"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
        value.type, value.type_name = _Field.TYPE_MESSAGE, f".{scope if bare.startswith('.') else package}.{bare.lstrip('.')}"
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{scope}.{entry.name}"
    elif bare in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        inner = scope.removeprefix(f"{package}.") + bare if bare.startswith(".") else bare
        field.type = _Field.TYPE_ENUM if inner in enums else _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{inner}"
    if len(words) > 3:
        if not message.oneof_decl:
            message.oneof_decl.add(name=words[3])
        field.oneof_index = 0


_pool = descriptor_pool.DescriptorPool()
for _package, _table in ((PACKAGE, INFERENCE), ("google.rpc", RETRYING)):
    _pool.Add(file_of(_package, _table))


def message_class(name: str, package: str = PACKAGE) -> Any:
    """The class of a message of the table."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{package}.{name}"))
