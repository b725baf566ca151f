/**
 * Ask a server for a user's recommendations, and send the gateway a click on the first item.
 *
 *     npm run example -- http://127.0.0.1:8000 http://127.0.0.1:8001 17850
 */

import { Client, Problem } from "./src/index.js";

const [server = "http://127.0.0.1:8000", gateway = "http://127.0.0.1:8001", user = "17850"] =
  process.argv.slice(2);
const client = new Client({ server, gateway });

const answer = await client.recommend(user, { k: 5, explain: true });
for (const { item, title, score } of answer.items) {
  console.log(score.toFixed(4), item, title ?? "");
}
console.log(`by ${answer.source}, snapshot ${answer.snapshot}, ${answer.staleness_seconds} s stale`);

const [first] = answer.items;
if (first !== undefined) {
  const click = { user, item: first.item, type: "click", time: Date.now() } as const;
  const receipt = await client.sendInteractions([{ ...click, impression: answer.impression }]);
  console.log(receipt.accepted, "accepted", ...receipt.refused.map((refused) => refused.reason));
}

try {
  await client.similar("an item that nobody knows");
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.log(error.status, error.detail);
}
