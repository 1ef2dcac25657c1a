"""Says hello through a tunnel: ``python3 asyncio_tunnel.py URL TOKEN``."""

import asyncio
import json
import sys
import uuid

import websockets


async def main(url, token):
    """Authenticate, wait for the partner, and talk."""
    async with websockets.connect(url, max_size=None) as proxy:
        me = {"uuid": f"{{{uuid.uuid4()}}}", "name": "asyncio", "token": token}
        call = {"id": 1, "method": "Authentication.Authenticate", "params": me}
        await proxy.send(json.dumps(call))

        answer = json.loads(await proxy.recv())
        if answer.get("params", {}).get("authenticationError") != "AuthenticationErrorNoError":
            sys.exit(f"not let in: {answer.get('error')}")
        established = json.loads(await proxy.recv())
        print("partner:", established["params"]["name"])

        # From here on every message is the partner's: bytes, or text if that is what it sends.
        await proxy.send(b"hello from asyncio\n")
        received = await proxy.recv()
        print("received:", received if isinstance(received, str) else received.decode())


asyncio.run(main(*sys.argv[1:]))
