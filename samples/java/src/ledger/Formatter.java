package ledger;

/** Shows an amount; found through service files. */
public interface Formatter {
    String name();

    String format(long cents);
}
