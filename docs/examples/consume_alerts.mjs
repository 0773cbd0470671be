// Print every alert once: `node consume_alerts.mjs`; needs `npm install kafkajs`.
import { Kafka } from "kafkajs";

const broker = process.env.VITALS_BROKER ?? "127.0.0.1:29092";
const topic = (process.env.VITALS_TOPIC_PREFIX ?? "") + "health-alerts";

const lastSeq = new Map(); // per account; keep it where your effect is kept, so that both survive together
const consumer = new Kafka({ brokers: [broker] }).consumer({ groupId: "crm-sync-node" });
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true });
await consumer.run({
  eachMessage: async ({ message }) => {
    const alert = JSON.parse(message.value).data;
    // Alerts of an account come in order and are numbered from 1: one that is not newer came before.
    if (alert.seq <= (lastSeq.get(alert.account) ?? 0)) return;
    console.log(`${alert.account} ${alert.kind}, score ${alert.score.toFixed(0)}: ${alert.sentence}`);
    lastSeq.set(alert.account, alert.seq);
  },
});
