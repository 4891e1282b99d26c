// Java's own HttpClient: HTTP/2 by ALPN over TLS, HTTP/1.1 with Expect: 100-continue, and a WebSocket. Prints what it saw, a line each.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Asking {
    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var in = java.nio.file.Files.newInputStream(Path.of(file))) {
            store.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] arguments) throws Exception {
        String tls = arguments[0], plain = arguments[1], root = arguments[2];
        HttpClient client = HttpClient.newBuilder().sslContext(trusting(root)).build();
        byte[] body = new byte[300000];
        HttpRequest post = HttpRequest.newBuilder(URI.create("https://localhost:" + tls + "/h2"))
            .POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
        HttpResponse<byte[]> reply = client.send(post, HttpResponse.BodyHandlers.ofByteArray());
        System.out.println(reply.version() + " " + reply.statusCode() + " " + (reply.body().length > body.length));
        HttpRequest waiting = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + plain + "/h1"))
            .version(HttpClient.Version.HTTP_1_1).expectContinue(true)
            .POST(HttpRequest.BodyPublishers.ofString("hello")).build();
        HttpResponse<String> second = client.send(waiting, HttpResponse.BodyHandlers.ofString());
        System.out.println(second.version() + " " + second.statusCode() + " " + second.body().contains("\"hello\""));
        CompletableFuture<String> heard = new CompletableFuture<>();
        WebSocket socket = client.newWebSocketBuilder().buildAsync(URI.create("ws://127.0.0.1:" + plain + "/ws"), new WebSocket.Listener() {
            public CompletionStage<?> onText(WebSocket one, CharSequence data, boolean last) {
                heard.complete(data.toString());
                return null;
            }
        }).get(10, TimeUnit.SECONDS);
        socket.sendText("from java", true).get(10, TimeUnit.SECONDS);
        System.out.println("WebSocket " + heard.get(10, TimeUnit.SECONDS));
        System.exit(0);
    }
}
