"""The generated files are those of the .proto file beside them."""

import shutil
import subprocess
import sys
from pathlib import Path

import curvestop.proto.early_stopping_pb2

PROTO = Path(str(curvestop.proto.early_stopping_pb2.__file__)).parent
GENERATED = ("early_stopping_pb2.py", "early_stopping_pb2.pyi", "early_stopping_pb2_grpc.py")


def test_generated_files_are_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    shutil.copy(PROTO / "early_stopping.proto", tmp_path / "sources")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", f"curvestop/proto={tmp_path / 'sources'}"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, *outputs, str(tmp_path / "sources" / "early_stopping.proto")], check=True, timeout=60)
    for name in GENERATED:
        assert (PROTO / name).read_text() == (tmp_path / "curvestop" / "proto" / name).read_text(), f"run `make proto`: {name}"
