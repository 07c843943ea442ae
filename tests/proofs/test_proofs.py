"""Every proof, short; `make prove` runs them with full counts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.proofs.proof import Found, Proof
from tests.proofs.prove import _found, main, proofs
from tests.system_programs import skip_without


@pytest.mark.parametrize("proof", proofs(), ids=lambda proof: f"{proof.promise}-{proof.name}")
def test_the_promise_is_kept(proof: Proof, tmp_path: Path) -> None:
    skip_without(*proof.needs)
    found = proof(tmp_path, short=True)
    assert found.kept, found


def test_the_table_has_figures_beside_targets_and_says_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Proof(1, "kept", "0 lost", lambda folder, n: Found({"lost": 0, "of": n}, kept=True), {"n": 1000}, {"n": 10})
    broken = Proof(2, "raises", "none", lambda folder: Found({"x": 1 // 0}, kept=True), {}, {})
    monkeypatch.setattr("tests.proofs.prove.proofs", lambda: (kept, broken))
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "0 lost, 1000 of" in printed
    assert "BROKEN" in printed
    assert printed.splitlines()[-1].startswith('{"proofs": 2, "broken": ["raises"], "seconds": ')
    assert main(["--short", "--only", "kept"]) == 0
    assert "10 of" in capsys.readouterr().out


def test_a_proof_without_an_end_is_broken_and_the_others_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    end = threading.Event()
    endless = Proof(1, "endless", "an end", lambda folder: Found({}, kept=end.wait()), {}, {})
    found = _found(endless, tmp_path, True, limit_s=0.01)
    end.set()
    assert found == Found({"error": "no end within 0.01 s"}, kept=False)
    assert "in <lambda>" in capfd.readouterr().err
