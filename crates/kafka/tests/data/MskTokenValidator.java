import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * Checks tokens as Amazon MSK does, for one key: the signed request must be for kafka-cluster:Connect in the region of
 * the broker, not be over, and have the signature that AWS's documentation prescribes (Signature Version 4, query). Only
 * the service itself knows roles and policies.
 */
public class MskTokenValidator implements AuthenticateCallbackHandler {
    private static final String KEY = "AKIAIOSFODNN7EXAMPLE";
    private static final String SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    private static final String REGION = "eu-west-1";
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {
    }

    @Override
    public void close() {
    }

    @Override
    public void handle(Callback[] callbacks) {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerValidatorCallback asked) {
                try {
                    asked.token(token(asked.tokenValue()));
                } catch (Exception error) {
                    asked.error("invalid_token", null, null);
                }
            } else if (callback instanceof OAuthBearerExtensionsValidatorCallback asked) {
                asked.inputExtensions().map().keySet().forEach(asked::valid);
            }
        }
    }

    private static OAuthBearerToken token(String value) throws Exception {
        URI url = URI.create(new String(Base64.getUrlDecoder().decode(value), StandardCharsets.UTF_8));
        Map<String, String> given = new TreeMap<>();
        for (String pair : url.getRawQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            given.put(parts[0], parts[1]);
        }

        // The name of the signer is added after the signature.
        given.remove("User-Agent");
        String signature = given.remove("X-Amz-Signature");
        String date = given.get("X-Amz-Date");
        String scope = date.substring(0, 8) + "/" + REGION + "/kafka-cluster/aws4_request";
        String host = "kafka." + REGION + ".amazonaws.com";
        require(url.getScheme().equals("https") && url.getHost().equals(host) && url.getPath().equals("/"));
        require(given.get("Action").equals("kafka-cluster%3AConnect"));
        require(given.get("X-Amz-Algorithm").equals("AWS4-HMAC-SHA256") && given.get("X-Amz-SignedHeaders").equals("host"));
        require(URLDecoder.decode(given.get("X-Amz-Credential"), StandardCharsets.UTF_8).equals(KEY + "/" + scope));

        long starts = Instant.from(TIME.parse(date)).toEpochMilli();
        long ends = starts + Long.parseLong(given.get("X-Amz-Expires")) * 1000;
        require(ends > System.currentTimeMillis() && starts < System.currentTimeMillis() + 60_000);

        String query = given.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).collect(Collectors.joining("&"));
        String request = "GET\n/\n" + query + "\nhost:" + host + "\n\nhost\n" + sum("");
        String text = "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + sum(request);
        byte[] key = ("AWS4" + SECRET).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = mac(key, part);
        }
        require(HexFormat.of().formatHex(mac(key, text)).equals(signature));

        return new OAuthBearerToken() {
            public String value() {
                return value;
            }

            public Set<String> scope() {
                return Set.of();
            }

            public long lifetimeMs() {
                return ends;
            }

            public String principalName() {
                return KEY;
            }

            public Long startTimeMs() {
                return starts;
            }
        };
    }

    private static void require(boolean holds) {
        if (!holds) {
            throw new IllegalArgumentException();
        }
    }

    private static byte[] mac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String sum(String text) throws Exception {
        byte[] sum = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        return HexFormat.of().formatHex(sum);
    }
}
