// Verifies a dispatch as a worker would that uses the published library.
//
// Usage: node verify_dispatch.cjs SECRET, with {"headers": …, "body": …} on standard input.

const { readFileSync } = require("node:fs");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

const said = JSON.parse(readFileSync(0, "utf8"));
const webhook = new Webhook(process.argv[2]);
webhook.verify(said.body, said.headers);
try {
  webhook.verify(said.body + " ", said.headers);
} catch (error) {
  if (!(error instanceof WebhookVerificationError)) throw error;
  console.log("verified, and refused with a byte changed");
}
