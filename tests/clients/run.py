#!/usr/bin/env python3
"""Runs clients that nobody here wrote against a gateway: of MQTT over TCP, TLS, WebSocket and secure WebSocket, of EST,
and of mDNS.

What the clients need is installed by `scripts/test`; this only runs them.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from gateway import Gateway

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parent / ".tools"

SUITES = {
    "mosquitto": [sys.executable, "-m", "unittest", "-v", "test_mosquitto"],
    "paho": [str(TOOLS / "python/bin/python"), "-m", "unittest", "-v", "test_paho"],
    "mqttjs": ["node", "--test", "--test-reporter=spec", "mqttjs.test.mjs"],
    "est": [sys.executable, "-m", "unittest", "-v", "test_est"],
    "discovery": [sys.executable, "-m", "unittest", "-v", "test_discovery"],
    "browser": ["node", "--test", "--test-reporter=spec", "browser.test.mjs"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(HERE.parent.parent / "target/release/fieldgate"))
    parser.add_argument("--stand-in", choices=["mosquitto"], help="run against another broker, to try the tests")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all when none is named")
    arguments = parser.parse_args()
    unknown = [suite for suite in arguments.suites if suite not in SUITES]
    if unknown:
        parser.error(f"no suite {unknown[0]}; there are {', '.join(SUITES)}")

    failed = []
    for suite in arguments.suites or SUITES:
        gateway = Gateway(arguments.binary, arguments.stand_in)
        print(f"--- {suite}", flush=True)
        result = subprocess.run(SUITES[suite], cwd=HERE, env={**os.environ, **gateway.env})
        alive = gateway.is_alive()
        code, log = gateway.stop()
        if result.returncode or not alive or code:
            failed.append(suite)
            print(f"--- {suite} failed; the gateway {'ended on its own' if not alive else f'stopped with {code}'}; "
                  f"end of its log:\n{log[-4000:]}", flush=True)
    print(f"clients: {len(arguments.suites or SUITES) - len(failed)} suites passed, {len(failed)} failed"
          + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
