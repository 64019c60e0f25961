# ruff: noqa: N802, PTH123, S310  (a script for DaCHS, as it is)
"""Read the documents of the index by scrolling."""

import json
import ssl
from urllib import request

from gavo.grammars.customgrammar import CustomRowIterator


class RowIterator(CustomRowIterator):
    def _iterRows(self):
        with open(self.sourceToken) as file:
            config = json.load(file)
        server = "/".join(config["query_url"].split("/")[:3])
        found = self.ask(config["query_url"] + "?scroll=1m", dict(config["query_data"], size=1000))
        while found["hits"]["hits"]:
            for hit in found["hits"]["hits"]:
                source = hit["_source"]
                row = {
                    "id": hit["_id"],
                    "date_obs": source["date_obs"],
                    "date_end": source["date_end"],
                    "cadence": source["cadence"],
                    "freq_min": source["frequencies"]["lowest"],
                    "freq_max": source["frequencies"]["highest"],
                    "fits": source["fits"]["name"],
                    "bytes": source["fits"]["bytes"],
                    "quicklook": source.get("quicklook"),
                }
                yield row
            found = self.ask(server + "/_search/scroll", {"scroll": "1m", "scroll_id": found["_scroll_id"]})

    def ask(self, url, query):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        data = json.dumps(query).encode()
        headers = {"Content-Type": "application/json"}
        with request.urlopen(request.Request(url, data, headers), context=context if url[:5] == "https" else None) as answer:
            return json.load(answer)
