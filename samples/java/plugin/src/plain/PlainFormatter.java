package plain;

import ledger.Formatter;

/** Euros and cents, in plain digits. */
public class PlainFormatter implements Formatter {
    @Override
    public String name() {
        return "plain";
    }

    @Override
    public String format(long cents) {
        return "%d.%02d".formatted(cents / 100, cents % 100);
    }
}
