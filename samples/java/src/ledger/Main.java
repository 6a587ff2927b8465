package ledger;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Executors;

/** The service: pages, files, and features whose classes are loaded when their path is first asked for. */
public class Main {
    private static final Map<String, String> FEATURES = Map.of(
        "/digest", "ledger.Digests",
        "/words", "ledger.Words",
        "/feed", "ledger.Feed",
        "/archive", "ledger.Archive",
        "/trust", "ledger.Trust",
        "/plugins", "ledger.Plugins",
        "/self", "ledger.Self");

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(8000), 0);
        server.createContext("/", Main::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.stop(0);
            System.out.println("the ledger is closed");
        }));
        server.start();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        String query = exchange.getRequestURI().getQuery();
        try {
            if (path.equals("/health")) {
                send(exchange, 200, "application/json", "{\"status\":\"ok\"}");
            } else if (path.equals("/")) {
                send(exchange, 200, "text/html", resource("index.html").replace("{{name}}", "Ledger"));
            } else if (path.equals("/echo") && exchange.getRequestMethod().equals("POST")) {
                byte[] body = exchange.getRequestBody().readAllBytes();
                send(exchange, body.length == 0 ? 400 : 201, "text/plain", new String(body, StandardCharsets.UTF_8));
            } else if (path.startsWith("/static/") && !path.contains("..")) {
                file(exchange, Path.of("public", path.substring("/static/".length())));
            } else if (FEATURES.containsKey(path)) {
                Feature feature = (Feature) Class.forName(FEATURES.get(path)).getDeclaredConstructor().newInstance();
                send(exchange, 200, "application/json", feature.answer(query == null ? "" : query));
            } else {
                send(exchange, 404, "text/html", resource("missing.html"));
            }
        } catch (Exception | LinkageError failure) {
            failure.printStackTrace();
            send(exchange, 500, "text/plain", failure.toString());
        }
    }

    private static void file(HttpExchange exchange, Path path) throws IOException {
        if (!Files.isRegularFile(path)) {
            send(exchange, 404, "text/html", resource("missing.html"));
            return;
        }
        String type = Files.probeContentType(path);
        send(exchange, 200, type == null ? "application/octet-stream" : type, Files.readAllBytes(path));
    }

    private static String resource(String name) throws IOException {
        try (var stream = Main.class.getResourceAsStream(name)) {
            return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static void send(HttpExchange exchange, int status, String type, String text) throws IOException {
        send(exchange, status, type, text.getBytes(StandardCharsets.UTF_8));
    }

    private static void send(HttpExchange exchange, int status, String type, byte[] body) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", type);
        exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
