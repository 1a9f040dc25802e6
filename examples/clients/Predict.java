// Asks a deployment with the JDK alone, 17 or newer: java Predict.java DEPLOYMENT ROWS.json TENSORS.json

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public final class Predict {
    static final int MAX_RETRIES = 2;
    static final long MAX_WAIT_MS = 120_000;
    static final Duration TIMEOUT = Duration.ofSeconds(60);
    /** What a refusal says: `detail` of problem+json, `error` of /v2. */
    static final Pattern DETAIL = Pattern.compile("\"(?:detail|error)\"\\s*:\\s*\"((?:[^\"\\\\]++|\\\\.)*+)\"");

    /** The terminal may use another encoding than the server; JSON is always UTF-8. */
    static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    static final PrintStream ERR = new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);

    static final HttpClient CLIENT = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(5))
            .build();

    static final class Refused extends Exception {
        Refused(String reason) {
            super(reason);
        }
    }

    /** Ends with 0: answered, 1: refused or not reached, 2: called wrongly. */
    public static void main(String[] words) throws InterruptedException {
        System.exit(run(words, System.getenv("MODELTAP_URL"), System.getenv("MODELTAP_KEY")));
    }

    static int run(String[] words, String url, String key) throws InterruptedException {
        if (url == null || url.isEmpty() || key == null || key.isEmpty() || words.length != 3) {
            ERR.println("usage: MODELTAP_URL=… MODELTAP_KEY=… java Predict.java DEPLOYMENT ROWS.json TENSORS.json");
            return 2;
        }
        String root = url.replaceAll("/+$", "");
        String name = URLEncoder.encode(words[0], StandardCharsets.UTF_8).replace("+", "%20");
        try {
            String rows = Files.readString(Path.of(words[1]));
            String tensors = Files.readString(Path.of(words[2]));
            OUT.println(ask(root + "/predict/" + name, "{\"instances\": " + rows + "}", key));
            OUT.println(ask(root + "/v2/models/" + name + "/infer", tensors, key));
        } catch (Refused problem) {
            ERR.println("error: " + problem.getMessage());
            return 1;
        } catch (IOException | IllegalArgumentException problem) {
            ERR.println("error: " + problem);
            return 1;
        }
        return 0;
    }

    /** The body of the answer. Its Idempotency-Key makes all tries one request: it is answered, and charged, once. */
    static String ask(String url, String body, String key) throws Refused, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
                .timeout(TIMEOUT)
                .header("Authorization", "Bearer " + key)
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", UUID.randomUUID().toString())
                .POST(BodyPublishers.ofString(body))
                .build();
        for (int tries = 1; ; tries++) {
            String reason;
            OptionalLong waitMs;
            try {
                HttpResponse<String> answer = CLIENT.send(request, BodyHandlers.ofString());
                if (answer.statusCode() == 200) {
                    return answer.body();
                }
                reason = answer.statusCode() + ": " + detail(answer.body());
                waitMs = waitBeforeRetry(tries, answer.statusCode(), answer.headers());
            } catch (IOException problem) {
                reason = "no answer from " + url + ": " + problem;
                waitMs = OptionalLong.of(pauseMs(tries));
            }
            if (waitMs.isEmpty() || tries > MAX_RETRIES) {
                throw new Refused(reason);
            }
            ERR.printf(Locale.ROOT, "%s; trying again in %.3f s%n", reason, waitMs.getAsLong() / 1000.0);
            Thread.sleep(waitMs.getAsLong());
        }
    }

    /** Milliseconds until the next try; none where there should be none. */
    static OptionalLong waitBeforeRetry(int tries, int status, HttpHeaders headers) {
        String should = headers.firstValue("x-should-retry").orElse("");
        boolean passing = status == 408 || status == 409 || status == 429 || status >= 500;
        if (should.equals("false") || (!should.equals("true") && !passing)) {
            return OptionalLong.empty();
        }
        OptionalLong asked = waitAskedMs(headers);
        if (asked.isEmpty()) {
            return OptionalLong.of(pauseMs(tries));
        }
        return asked.getAsLong() <= MAX_WAIT_MS ? asked : OptionalLong.empty();
    }

    /** What the server asks for, in milliseconds, in seconds or as a date. */
    static OptionalLong waitAskedMs(HttpHeaders headers) {
        String milliseconds = headers.firstValue("retry-after-ms").orElse("");
        String after = headers.firstValue("retry-after").orElse("");
        if (milliseconds.matches("\\d{1,15}")) {
            return OptionalLong.of(Long.parseLong(milliseconds));
        }
        if (after.matches("\\d{1,12}")) {
            return OptionalLong.of(Long.parseLong(after) * 1000);
        }
        try {
            Instant moment = ZonedDateTime.parse(after, DateTimeFormatter.RFC_1123_DATE_TIME).toInstant();
            return OptionalLong.of(Math.max(0, Duration.between(Instant.now(), moment).toMillis()));
        } catch (DateTimeException notADate) {
            return OptionalLong.empty();
        }
    }

    /** Twice as long each time, and not the same for all who wait. */
    static long pauseMs(int tries) {
        double longest = Math.min(250 * Math.pow(2, tries - 1), 8000);
        return Math.round(longest * ThreadLocalRandom.current().nextDouble(0.5, 1.0));
    }

    static String detail(String text) {
        Matcher found = DETAIL.matcher(text);
        if (!found.find()) {
            return text;
        }
        try {
            return found.group(1).replace("\\/", "/").translateEscapes();
        } catch (IllegalArgumentException unknownEscape) {
            return found.group(1);
        }
    }
}
