// Publish one login event: `node publish_event.mjs ACCOUNT USER`; needs `npm install kafkajs`.
import { randomUUID } from "node:crypto";
import { Kafka, Partitioners } from "kafkajs";

const broker = process.env.VITALS_BROKER ?? "127.0.0.1:29092";
const topic = (process.env.VITALS_TOPIC_PREFIX ?? "") + "product-usage";
const [account, user] = process.argv.slice(2);
if (!user) {
  console.error("usage: node publish_event.mjs ACCOUNT USER");
  process.exit(1);
}

const event = {
  specversion: "1.0",
  id: randomUUID(), // a retry must send the same id
  source: "https://app.example.com/auth",
  type: "io.vitals.login.v1",
  subject: account,
  time: new Date().toISOString(),
  data: { user },
};
// The key is the account id; this partitioner is the one that Vitals expects.
const producer = new Kafka({ brokers: [broker] }).producer({
  createPartitioner: Partitioners.DefaultPartitioner,
});
await producer.connect();
await producer.send({ topic, acks: -1, messages: [{ key: account, value: JSON.stringify(event) }] });
await producer.disconnect();
