package ledger;

import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.Signature;
import java.util.HexFormat;

/** Digests, a signature's worth of cryptography. */
public class Digests implements Feature {
    @Override
    public String answer(String query) throws Exception {
        byte[] text = query.getBytes();
        String digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text));
        var generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(256);
        var pair = generator.generateKeyPair();
        Signature signature = Signature.getInstance("SHA256withECDSA");
        signature.initSign(pair.getPrivate());
        signature.update(text);
        byte[] signed = signature.sign();
        signature.initVerify(pair.getPublic());
        signature.update(text);
        return "{\"sha256\":\"%s\",\"verified\":%b}".formatted(digest, signature.verify(signed));
    }
}
