"""The client of the tutorial: it tells Taskhook that task 123 is done."""

import sys

import requests

webhook_url = sys.argv[1]

payload = {'event': 'task_completed', 'task_id': '123'}
response = requests.post(webhook_url, json=payload)
print(response.json()['message'])
