"""Multiplies exactly: python3 -m board.product NUMBER NUMBER"""

import decimal
import sys

if __name__ == "__main__":
    print(decimal.Decimal(sys.argv[1]) * decimal.Decimal(sys.argv[2]))
