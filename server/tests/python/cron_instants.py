"""Says when cron expressions are due, by cronsim and the time zones of the tzdata package.

Standard input: a JSON list of {"expression", "timezone", "windows": [[after, until], ...]}, in seconds since the epoch.
Standard output: the release of the time zones, then for each expression one line of the seconds at which it is due.
"""

import json
import sys
import zoneinfo
from datetime import datetime, timezone

import tzdata
from cronsim import CronSim

# The machine's own time zones may be of any release.
zoneinfo.reset_tzpath([])


def due(expression, zone, after, until):
    last = after
    for at in CronSim(expression, datetime.fromtimestamp(after, zone)):
        seconds = int(at.astimezone(timezone.utc).timestamp())
        # Where the day begins in a repeated hour, it goes back to the hour's first pass, again and again.
        if seconds > until or seconds <= last:
            return
        last = seconds
        yield seconds


print(tzdata.IANA_VERSION)
for case in json.load(sys.stdin):
    zone = zoneinfo.ZoneInfo(case["timezone"])
    print(*(at for window in case["windows"] for at in due(case["expression"], zone, *window)))
