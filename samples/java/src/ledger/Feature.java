package ledger;

/** Answers one path. */
public interface Feature {
    String answer(String query) throws Exception;
}
