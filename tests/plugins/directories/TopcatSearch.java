// Searches a registry with TOPCAT's own classes, as its windows do: URL, kind (or ids), words -> kind, identifier, title, publisher, subjects, address of each interface.
import java.net.URL;
import uk.ac.starlink.vo.Capability;
import uk.ac.starlink.vo.RegCapabilityInterface;
import uk.ac.starlink.vo.RegResource;
import uk.ac.starlink.vo.RegistryProtocol;
import uk.ac.starlink.vo.RegistryQuery;
import uk.ac.starlink.vo.ResourceField;

public class TopcatSearch {
    public static void main(String[] args) throws Exception {
        URL url = new URL(args[0]);
        Capability[] kinds = {Capability.CONE, Capability.SIA, Capability.SSA, Capability.TAP};
        ResourceField[] fields = {ResourceField.SHORTNAME, ResourceField.TITLE, ResourceField.SUBJECTS, ResourceField.ID, ResourceField.PUBLISHER, ResourceField.DESCRIPTION};
        String[] words = args.length > 2 ? args[2].split(" ") : new String[0];
        RegistryProtocol protocol = RegistryProtocol.REGTAP;
        String[] names = {"cone", "sia", "ssa", "tap"};
        for (int at = 0; at < kinds.length; at++) {
            Capability kind = kinds[at];
            if (!names[at].equals(args[1]) && !args[1].equals("ids")) {
                continue;
            }
            RegistryQuery query = args[1].equals("ids")
                ? protocol.createIdListQuery(words, kind, url)
                : protocol.createKeywordQuery(words, fields, false, kind, url);
            for (RegResource one : query.getQueryResources()) {
                for (RegCapabilityInterface way : one.getCapabilities()) {
                    if (protocol.hasCapability(kind, way)) {
                        System.out.println(String.join("\t", names[at], one.getIdentifier(), one.getTitle(), one.getPublisher(),
                            String.join(",", one.getSubjects()), way.getAccessUrl()));
                    }
                }
            }
        }
    }
}
