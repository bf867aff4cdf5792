import re
import subprocess
import sys
from pathlib import Path

import keyvault.client
from tests.deployment import new_deployment, served

README = Path(keyvault.client.__file__).with_name("README.md")


def test_examples_run(tmp_path: Path) -> None:
    """The README's code, copied as it stands but for the port, makes a key, signs, is refused, and streams."""
    with served(new_deployment(tmp_path / "desk")) as desk:
        code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
        done = subprocess.run(
            (sys.executable, "-c", code.replace("localhost:7443", f"localhost:{desk.port}")),
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(keyvault.__path__[0]).parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["policy:", "send", "refused:", "100"]
    assert lines[0] == "policy: EXECUTED"
    assert "NO_RULE_ALLOWS" in lines[2]
