"""A command of an approver: JSON in as the one argument, what came of ``open_signer`` and ``sign`` as JSON out."""

import json
import sys
from pathlib import Path

from keyvault.cli.approver_key import open_signer
from keyvault.core.errors import KeyvaultError
from keyvault.core.ids import MemberName


def main() -> None:
    """Do it."""
    said = json.loads(sys.argv[1])
    files = {name: Path(said[name]) if name in said else None for name in ("passphrase_file", "pin_file")}
    try:
        signer = open_signer(said["key"], member=MemberName("alice"), **files)
        signature = signer.sign(said["message"].encode())
        answer = {"member": signer.member, "public_key": signer.public_key.hex(), "signature": signature.hex()}
    except KeyvaultError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
