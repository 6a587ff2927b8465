package ledger;

import java.io.StringReader;
import java.io.StringWriter;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.xml.sax.InputSource;

/** Makes XML, reads it again and transforms it. */
public class Feed implements Feature {
    @Override
    public String answer(String query) throws Exception {
        var builder = DocumentBuilderFactory.newInstance().newDocumentBuilder();
        var document = builder.parse(new InputSource(new StringReader("<feed><entry>one</entry></feed>")));
        document.getDocumentElement().appendChild(document.createElement("entry")).setTextContent("two");
        var text = new StringWriter();
        TransformerFactory.newInstance().newTransformer().transform(new DOMSource(document), new StreamResult(text));
        return "{\"entries\":%d,\"text\":%b}".formatted(
            document.getElementsByTagName("entry").getLength(), text.toString().contains("<entry>two</entry>"));
    }
}
