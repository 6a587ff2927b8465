package ledger;

import java.nio.charset.Charset;
import java.text.NumberFormat;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.HexFormat;
import java.util.Locale;

/** What needs locales, time zones and tables of characters. */
public class Words implements Feature {
    @Override
    public String answer(String query) throws Exception {
        var zone = Instant.parse("2024-07-01T12:00:00Z").atZone(ZoneId.of("Europe/Berlin"));
        String day = DateTimeFormatter.ofLocalizedDate(FormatStyle.LONG).withLocale(Locale.GERMANY).format(zone);
        String price = NumberFormat.getCurrencyInstance(Locale.GERMANY).format(1234.5).replace((char) 0xa0, (char) 32);
        String bytes = HexFormat.of().formatHex("ü".getBytes(Charset.forName("IBM850")));
        return "{\"hour\":%d,\"day\":\"%s\",\"price\":\"%s\",\"bytes\":\"%s\"}".formatted(zone.getHour(), day, price, bytes);
    }
}
