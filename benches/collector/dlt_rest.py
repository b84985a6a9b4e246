"""dlt's rest_api source over the same API and ids: one JSON line with records and CPU-seconds.

Only extraction is timed, nothing is normalised or loaded: what dlt does besides would be added to its cost.
usage: dlt_rest.py BASE_URL IDS
"""

import json
import sys
import time

from dlt.sources.rest_api import rest_api_source

base, ids = sys.argv[1], int(sys.argv[2])
source = rest_api_source(
    {
        "client": {"base_url": base},
        "resources": [
            {
                "name": "ids",
                "endpoint": {"path": "ids", "params": {"count": ids}, "data_selector": "data", "paginator": "single_page"},
            },
            {
                "name": "flights",
                "endpoint": {
                    "path": "v1/{id}",
                    "params": {"id": {"type": "resolve", "resource": "ids", "field": "id"}},
                    "data_selector": "data",
                    "paginator": {"type": "json_link", "next_url_path": "next"},
                },
            },
        ],
    }
)
wall, cpu = time.monotonic(), time.process_time()
records = sum(1 for _ in source.resources["flights"])
print(json.dumps({"records": records, "cpu": time.process_time() - cpu, "seconds": time.monotonic() - wall}))
