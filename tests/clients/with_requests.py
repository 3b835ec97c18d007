"""The PyPI package sseclient-py over requests: one line of JSON for each event at the address given."""

import json
import sys
import time

import requests
import sseclient

last_id = None
while True:
    headers = {"Accept": "text/event-stream"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        with requests.get(sys.argv[1], stream=True, headers=headers, timeout=60) as answer:
            answer.raise_for_status()
            for event in sseclient.SSEClient(answer).events():
                last_id = event.id or last_id
                said = {"event": event.event, "id": event.id, "data": json.loads(event.data)}
                print(json.dumps(said), flush=True)
    except requests.RequestException:
        pass
    time.sleep(0.2)
