# The server of the usual tutorial, as it stands there: it stores nothing.
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.route("/webhook", methods=["POST"])
def webhook():
    data = request.json
    if data["event"] == "task_completed":
        data["task_id"]
    return jsonify({"message": "Webhook received"}), 200


if __name__ == "__main__":
    app.run(port=0)
