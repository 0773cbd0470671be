import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * Flink: one job in one JVM (its local environment), checkpoints to the local disk every 10 s, at least once.
 *
 * Settings: objects are reused between chained functions (ExecutionConfig.enableObjectReuse), states and events are POJOs,
 * which Flink serialises itself instead of Kryo, BACKEND is hashmap (objects on the heap) or rocksdb. No watermarks.
 * The last watermark of the bounded source fires one timer for each account, which writes its state for the comparison.
 */
public final class Flink {
  static final AtomicLong READ = new AtomicLong();
  static final AtomicLong DONE = new AtomicLong();

  public static class Decode implements KafkaRecordDeserializationSchema<Work.Event> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Work.Event> out) {
      if (READ.getAndIncrement() == 0) Work.mark("w", 0);
      Work.Event event = Work.decode(record.value(), record.offset());
      if (event != null) out.collect(event);
    }

    @Override
    public TypeInformation<Work.Event> getProducedType() {
      return Types.POJO(Work.Event.class);
    }
  }

  public static class Scoring extends KeyedProcessFunction<String, Work.Event, String> {
    private transient ValueState<Work.Account> state;

    @Override
    public void open(OpenContext context) {
      Map<String, TypeInformation<?>> fields =
          Map.of(
              "offset", Types.LONG,
              "events", Types.LONG,
              "total", Types.LONG,
              "last", Types.STRING,
              "score", Types.DOUBLE,
              "features", Types.MAP(Types.STRING, Types.LONG));
      state = getRuntimeContext().getState(new ValueStateDescriptor<>("account", Types.POJO(Work.Account.class, fields)));
    }

    @Override
    public void processElement(Work.Event event, Context context, Collector<String> out) throws Exception {
      Work.Account account = state.value();
      if (account == null) {
        account = new Work.Account();
        context.timerService().registerEventTimeTimer(Long.MAX_VALUE);
      }
      if (event.offset > account.offset) {
        boolean isAlert = Work.apply(account, event);
        state.update(account);
        if (isAlert) out.collect(Work.alert(event.accountId, account.score));
      }
      Work.progress(DONE.incrementAndGet());
    }

    @Override
    public void onTimer(long time, OnTimerContext context, Collector<String> out) throws Exception {
      Dump.add(context.getCurrentKey(), state.value());
    }
  }

  /** The last states, written when the job is over. */
  static final class Dump {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final List<String> LINES = new ArrayList<>();

    @SuppressWarnings("unchecked")
    static synchronized void add(String key, Work.Account account) {
      Map<String, Object> fields = MAPPER.convertValue(account, Map.class);
      fields.put("account", key);
      try {
        LINES.add(MAPPER.writeValueAsString(fields));
      } catch (IOException error) {
        throw new IllegalStateException(error);
      }
    }

    static void write() throws IOException {
      Files.write(Path.of(Work.ENV.get("PEER_FOLDER"), "state.jsonl"), LINES, StandardOpenOption.CREATE);
    }
  }

  static Configuration settings(int parallelism) {
    String folder = Work.ENV.get("PEER_FOLDER");
    Configuration settings = new Configuration();
    settings.setString("state.backend.type", Work.ENV.getOrDefault("BACKEND", "hashmap"));
    settings.setString("execution.checkpointing.interval", "10 s");
    settings.setString("execution.checkpointing.mode", "AT_LEAST_ONCE");
    settings.setString("execution.checkpointing.dir", "file://" + folder + "/checkpoints");
    settings.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
    settings.setString("state.backend.rocksdb.localdir", folder + "/rocksdb");
    settings.setString("pipeline.object-reuse", "true");
    settings.setString("taskmanager.numberOfTaskSlots", Integer.toString(parallelism));
    return settings;
  }

  public static void main(String[] arguments) throws Exception {
    int parallelism = Integer.parseInt(Work.ENV.getOrDefault("PARALLELISM", "1"));
    String bootstrap = Work.ENV.get("PEER_BOOTSTRAP");
    StreamExecutionEnvironment environment =
        StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings(parallelism));
    KafkaSource<Work.Event> source =
        KafkaSource.<Work.Event>builder()
            .setBootstrapServers(bootstrap)
            .setTopics(Work.ENV.get("PEER_TOPIC"))
            .setGroupId(Work.ENV.get("PEER_RUN"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setDeserializer(new Decode())
            .build();
    KafkaSink<String> sink =
        KafkaSink.<String>builder()
            .setBootstrapServers(bootstrap)
            .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
            .setRecordSerializer(
                KafkaRecordSerializationSchema.builder()
                    .setTopic(Work.ENV.get("PEER_ALERTS"))
                    .setValueSerializationSchema(new SimpleStringSchema())
                    .build())
            .build();
    environment
        .fromSource(source, WatermarkStrategy.noWatermarks(), "events")
        .keyBy(event -> event.accountId, Types.STRING)
        .process(new Scoring())
        .sinkTo(sink);
    environment.execute("peer");
    Work.mark("done", 0);
    Dump.write();
    System.exit(0);
  }
}
