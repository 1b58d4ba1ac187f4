"""Sends what real senders send, signed by their own libraries: each once as it is, and once with a byte changed.

Usage: senders.py URL
The sources are named as the libraries are. Prints for each its name and the two statuses.
"""

import datetime
import json
import sys
import time

import requests
import slack_sdk.signature
import standardwebhooks
import stripe
import svix
from nacl.signing import SigningKey

URL = sys.argv[1]
AT = str(int(time.time()))
# Of the same second, as `sign` of two of the libraries wants it.
NOW = datetime.datetime.fromtimestamp(int(AT), datetime.timezone.utc)
BODY = json.dumps({"id": "evt_1", "type": "charge.succeeded", "event_id": "Ev1"})


def of_stripe(body: str) -> dict:
    code = stripe.WebhookSignature._compute_signature(f"{AT}.{body}", "whsec_of_stripe")
    header = f"t={AT},v1={code}"
    # The library takes it too.
    stripe.WebhookSignature.verify_header(body, header, "whsec_of_stripe", tolerance=300)
    return {"stripe-signature": header}


def of_standardwebhooks(body: str) -> dict:
    webhook = standardwebhooks.Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = webhook.sign("msg_standard", NOW, body)
    return {"webhook-id": "msg_standard", "webhook-timestamp": AT, "webhook-signature": signature}


def of_svix(body: str) -> dict:
    webhook = svix.Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = webhook.sign("msg_svix", NOW, body)
    return {"svix-id": "msg_svix", "svix-timestamp": AT, "svix-signature": signature}


def of_slack(body: str) -> dict:
    verifier = slack_sdk.signature.SignatureVerifier("8f742231b10e8888abcd99yyyzzz85a5")
    signature = verifier.generate_signature(timestamp=AT, body=body)
    assert verifier.is_valid(body=body, timestamp=AT, signature=signature)
    return {"x-slack-request-timestamp": AT, "x-slack-signature": signature}


def of_nacl(body: str) -> dict:
    """Discord's scheme, with the library that its documentation uses."""
    signature = SigningKey(bytes([7] * 32)).sign(f"{AT}{body}".encode()).signature.hex()
    return {"x-signature-timestamp": AT, "x-signature-ed25519": signature}


for name, sign in [
    ("stripe", of_stripe),
    ("standardwebhooks", of_standardwebhooks),
    ("svix", of_svix),
    ("slack", of_slack),
    ("nacl", of_nacl),
]:
    headers = {"content-type": "application/json", **sign(BODY)}
    tampered = requests.post(f"{URL}/webhook/{name}", data=BODY.replace("charge", "change"), headers=headers)
    sent = requests.post(f"{URL}/webhook/{name}", data=BODY, headers=headers)
    print(name, sent.status_code, tampered.status_code, flush=True)
