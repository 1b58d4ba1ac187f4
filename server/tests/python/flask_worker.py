"""A worker as people write them with Flask. It prints its address first."""

import threading

import requests
from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)
seen = set()


def add(numbers, callback_url):
    """Does the work, and calls back."""
    answer = requests.post(
        callback_url,
        json={"event": "task_completed", "result": {"sum": sum(numbers)}},
        timeout=10,
    )
    answer.raise_for_status()
    print("called back:", answer.json()["message"], flush=True)


@app.post("/add")
def accept():
    """Takes the work, and does it after its answer."""
    numbers = request.get_json()["numbers"]
    callback_url = request.headers["taskhook-callback-url"]
    threading.Thread(target=add, args=(numbers, callback_url)).start()
    return "", 202


@app.post("/flaky")
def fail_once():
    """Fails for the first attempt of a task, and does the second."""
    task, attempt = request.headers["taskhook-task-id"], int(request.headers["taskhook-attempt"])
    if task not in seen:
        seen.add(task)
        return "not yet", 500
    return jsonify(attempt=attempt)


server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"http://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
