import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/** The work of every Java engine, as apps/work.py is of the Python ones, and its marks, as apps/marks.py. */
public final class Work {
  static final double ALERT_SCORE = 53.0;
  static final Set<String> TYPES = Set.of("login", "feature", "ticket");
  static final JsonFactory JSON = new JsonFactory();
  static final Map<String, String> ENV = System.getenv();
  static final long EVENTS = Long.parseLong(ENV.get("PEER_EVENTS"));
  static final long MARK_EVERY = Math.max(1, EVENTS / 20);
  private static OutputStream pipe;

  /** What is read of an event. */
  public static class Event {
    public String accountId, ts, feature;
    public int n;
    public long offset;
  }

  /** The state of one account. */
  public static class Account {
    public long offset = -1, events, total;
    public String last = "";
    public double score = 50.0;
    public Map<String, Long> features = new HashMap<>();
  }

  /** Decodes and checks an event in one pass, by the streaming parser, the fastest that Jackson has; null if it is not well formed. */
  static Event decode(byte[] value, long offset) {
    Event event = new Event();
    event.offset = offset;
    String eventId = null, type = null;
    boolean hasN = false;
    try (JsonParser parser = JSON.createParser(value)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) return null;
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        JsonToken token = parser.nextToken();
        switch (name) {
          case "event_id" -> { if (token != JsonToken.VALUE_STRING) return null; eventId = parser.getText(); }
          case "account_id" -> { if (token != JsonToken.VALUE_STRING) return null; event.accountId = parser.getText(); }
          case "type" -> { if (token != JsonToken.VALUE_STRING) return null; type = parser.getText(); }
          case "ts" -> { if (token != JsonToken.VALUE_STRING) return null; event.ts = parser.getText(); }
          case "feature" -> { if (token != JsonToken.VALUE_STRING) return null; event.feature = parser.getText(); }
          case "n" -> { if (token != JsonToken.VALUE_NUMBER_INT) return null; event.n = parser.getIntValue(); hasN = true; }
          default -> parser.skipChildren();
        }
      }
    } catch (IOException error) {
      return null;
    }
    boolean isWhole = eventId != null && event.accountId != null && event.ts != null && event.feature != null && hasN;
    return isWhole && type != null && TYPES.contains(type) ? event : null;
  }

  /** Takes an event into the state; says whether it is cause for an alert. The caller has compared the offsets. */
  static boolean apply(Account account, Event event) {
    account.offset = event.offset;
    account.events++;
    account.total += event.n;
    account.last = event.ts;
    account.features.merge(event.feature, 1L, Long::sum);
    double before = account.score;
    account.score = before * 0.99 + event.n * 0.1;
    return before < ALERT_SCORE && account.score >= ALERT_SCORE;
  }

  static String alert(String accountId, double score) {
    return "{\"account_id\":\"" + accountId + "\",\"score\":" + score + "}";
  }

  /** Tells how far a worker is. */
  static synchronized void mark(String worker, long count) {
    try {
      if (pipe == null) pipe = new FileOutputStream(ENV.get("PEER_MARKS"), true);
      Instant now = Instant.now();
      long nanos = now.getEpochSecond() * 1_000_000_000L + now.getNano();
      pipe.write((worker + " " + count + " " + nanos + "\n").getBytes());
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Marks the way when there is something to mark at this count. */
  static void progress(long count) {
    if (count % MARK_EVERY == 0 || count == EVENTS) mark("w", count);
  }
}
