"""Work in another process."""

import subprocess
import sys


def answer():
    code = "import decimal, json; print(json.dumps(str(decimal.Decimal('0.1') * 3)))"
    return {"product": subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()}
