"""The PyPI package httpx-sse: one line of JSON for each event at the address given."""

import json
import sys
import time


import httpx
from httpx_sse import connect_sse

last_id = None
with httpx.Client(timeout=60) as client:
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
                for event in source.iter_sse():
                    last_id = event.id or last_id
                    said = {"event": event.event, "id": event.id, "data": json.loads(event.data)}
                    print(json.dumps(said), flush=True)
        except httpx.TransportError:
            pass
        time.sleep(0.2)
