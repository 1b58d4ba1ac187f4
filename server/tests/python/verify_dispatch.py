"""Verifies a dispatch as a worker would that uses the published library.

Usage: verify_dispatch.py SECRET, with {"headers": …, "body": …} on standard input.
"""

import json
import sys

import standardwebhooks

said = json.load(sys.stdin)
webhook = standardwebhooks.Webhook(sys.argv[1])
webhook.verify(said["body"], said["headers"])
try:
    webhook.verify(said["body"] + " ", said["headers"])
except standardwebhooks.WebhookVerificationError:
    print("verified, and refused with a byte changed")
