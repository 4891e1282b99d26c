// Java's own HttpClient over HTTP/1.1 before a proxy that asks its clients to leave with each reply: uploads, one after the other and at once.
// Prints the statuses. (Over HTTP/2 it drops the streams that it has just opened when a GOAWAY comes, whatever stream that names.)
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Leaving {
    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            store.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] arguments) throws Exception {
        URI where = URI.create(arguments[0]);
        HttpClient client = HttpClient.newBuilder().sslContext(trusting(arguments[1])).version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest post = HttpRequest.newBuilder(where).POST(HttpRequest.BodyPublishers.ofByteArray(new byte[50000])).build();
        List<Integer> statuses = new ArrayList<>();
        for (int number = 0; number < 3; number += 1) {
            statuses.add(client.send(post, HttpResponse.BodyHandlers.ofString()).statusCode());
        }
        List<CompletableFuture<HttpResponse<String>>> every = new ArrayList<>();
        for (int number = 0; number < 5; number += 1) {
            every.add(client.sendAsync(post, HttpResponse.BodyHandlers.ofString()));
        }
        for (CompletableFuture<HttpResponse<String>> one : every) {
            statuses.add(one.get(10, TimeUnit.SECONDS).statusCode());
        }
        System.out.println(statuses);
        System.exit(0);
    }
}
