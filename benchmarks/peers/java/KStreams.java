import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: a persistent store (RocksDB) with its cache on and a changelog topic, at-least-once.
 *
 * Settings: commit.interval.ms stays at its default of 30 s, and the cache is larger than the default of 10 MiB, so that
 * every account fits: the documentation's "Memory management" says that both save writes to the store and the changelog.
 * num.stream.threads is THREADS ("Threading model": one for each core at most).
 */
public final class KStreams {
  static final ObjectMapper MAPPER = new ObjectMapper();
  static final ObjectReader READER = MAPPER.readerFor(Work.Account.class);
  static final ObjectWriter WRITER = MAPPER.writerFor(Work.Account.class);
  static final AtomicLong COUNT = new AtomicLong();
  static final CountDownLatch END = new CountDownLatch(1);

  static class Scoring implements Processor<String, byte[], String, byte[]> {
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, Work.Account> store;

    public void init(ProcessorContext<String, byte[]> context) {
      this.context = context;
      store = context.getStateStore("accounts");
    }

    public void process(Record<String, byte[]> record) {
      long count = COUNT.incrementAndGet();
      if (count == 1) Work.mark("w", 0);
      Work.Event event = Work.decode(record.value(), context.recordMetadata().get().offset());
      if (event != null) score(record, event);
      Work.progress(count);
      if (count >= Work.EVENTS) END.countDown();
    }

    private void score(Record<String, byte[]> record, Work.Event event) {
      String key = event.accountId;
      Work.Account account = store.get(key);
      if (account == null) account = new Work.Account();
      if (event.offset <= account.offset) return;
      boolean isAlert = Work.apply(account, event);
      store.put(key, account);
      if (isAlert) context.forward(new Record<>(key, Work.alert(key, account.score).getBytes(), record.timestamp()));
    }
  }

  static Serde<Work.Account> accountSerde() {
    return Serdes.serdeFrom(
        (topic, account) -> {
          try {
            return account == null ? null : WRITER.writeValueAsBytes(account);
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        },
        (topic, bytes) -> {
          try {
            return bytes == null ? null : READER.readValue(bytes);
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        });
  }

  public static void main(String[] arguments) throws Exception {
    StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("accounts"), Serdes.String(), accountSerde())
            .withLoggingEnabled(Map.of())
            .withCachingEnabled());
    builder.stream(Work.ENV.get("PEER_TOPIC"), Consumed.with(Serdes.String(), Serdes.ByteArray()))
        .process(Scoring::new, "accounts")
        .to(Work.ENV.get("PEER_ALERTS"), Produced.with(Serdes.String(), Serdes.ByteArray()));
    Properties settings = new Properties();
    settings.put("application.id", Work.ENV.get("PEER_RUN"));
    settings.put("bootstrap.servers", Work.ENV.get("PEER_BOOTSTRAP"));
    settings.put("state.dir", Work.ENV.get("PEER_FOLDER") + "/state");
    settings.put("num.stream.threads", Work.ENV.getOrDefault("THREADS", "1"));
    settings.put("statestore.cache.max.bytes", 64L * 1024 * 1024);
    settings.put("replication.factor", "1");
    settings.put("consumer.auto.offset.reset", "earliest");
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          System.exit(1);
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    streams.start();
    END.await();
    streams.close(Duration.ofSeconds(60));
    Work.mark("done", 0);
    System.exit(0);
  }
}
