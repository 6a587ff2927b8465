package ledger;

import java.net.URI;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.util.Map;

/** Packs and unpacks, with the JDK's own zlib binding and file system of archives. */
public class Archive implements Feature {
    @Override
    public String answer(String query) throws Exception {
        var path = Files.createTempDirectory("archive").resolve("all.zip");
        var uri = URI.create("jar:" + path.toUri());
        try (var archive = FileSystems.newFileSystem(uri, Map.of("create", "true"))) {
            Files.writeString(archive.getPath("/note"), "packed");
        }
        try (var archive = FileSystems.newFileSystem(uri, Map.of())) {
            return "{\"note\":\"%s\"}".formatted(Files.readString(archive.getPath("/note")));
        } finally {
            Files.delete(path);
        }
    }
}
