import cds.aladin.Aladin;
import cds.aladin.Coord;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.lang.reflect.Method;

/** Aladin Desktop, which does what is written to it line by line: its own script commands, and what only a mouse can do there. */
public class AladinTold {
    public static void main(String[] options) throws Exception {
        Aladin aladin = Aladin.launch(String.join(" ", options));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            if (line.equals("footprints")) footprints(aladin);
            else if (line.equals("warning")) System.out.println("WARNING " + String.valueOf(warning(aladin)).replace('\n', ' '));
            else if (line.equals("clear")) call(get(aladin, "calque"), "FreeAll"); // "rm all" waits as "sync" does
            else if (line.startsWith("where ")) where(aladin, line.split(" "));
            else if (line.startsWith("say ")) System.out.println(line.substring(4));
            else System.out.println(aladin.execCommand(line));
        }
        System.out.flush();
        System.exit(0);
    }

    /** Ticks "footprints" in the properties of each catalogue. */
    private static void footprints(Aladin aladin) throws Exception {
        for (Object plane : (Object[]) get(get(aladin, "calque"), "plan"))
            if (plane != null && (boolean) call(plane, "isCatalog")) {
                System.out.println("FOOTPRINTS " + get(plane, "label") + " " + call(plane, "hasAssociatedFootprints") + " of body " + get(plane, "body"));
                call(plane, "showFootprints", true);
            }
    }

    /** Tells the planes, and the position of a pixel (its middle is a whole number, the first is 1, the lowest row the first) of each that is an image with places. */
    private static void where(Aladin aladin, String[] words) throws Exception {
        // "sync" waits for ever where a table has no positions; of a file with many, one comes after the other
        for (int turns = 0, still = 0, before = -1; turns < 150 && still < 7; turns++) {
            Thread.sleep(200);
            int now = planes(aladin);
            still = now > 0 && now == before ? still + 1 : 0;
            before = now;
        }
        for (Object plane : (Object[]) get(get(aladin, "calque"), "plan")) {
            if (plane == null || plane.getClass().getSimpleName().equals("PlanFree")) continue;
            String told = "PLANE " + plane.getClass().getSimpleName() + " error=" + get(plane, "error");
            if ((boolean) call(plane, "isCatalog")) told += " objects=" + call(plane, "getCounts");
            Object projection = get(plane, "projd");
            if (projection != null && (boolean) call(plane, "isImage")) {
                Coord at = new Coord();
                at.x = Double.parseDouble(words[1]) - 0.5;
                at.y = (int) get(plane, "naxis2") - Double.parseDouble(words[2]) + 0.5;
                call(projection, "getCoord", at);
                told += " at " + at.al + " " + at.del;
            }
            System.out.println(told);
        }
    }

    /** Counts the planes; -1: one is still on its way. */
    private static int planes(Aladin aladin) throws Exception {
        int found = 0;
        for (Object plane : (Object[]) get(get(aladin, "calque"), "plan")) {
            if (plane == null || plane.getClass().getSimpleName().equals("PlanFree")) continue;
            if (!(boolean) get(plane, "flagOk") && get(plane, "error") == null) return -1;
            found++;
        }
        return found;
    }

    /** What stands in red over the stack of planes. */
    private static Object warning(Aladin aladin) throws Exception {
        return call(get(get(aladin, "calque"), "select"), "getMessage");
    }

    private static Object get(Object of, String name) throws Exception {
        for (Class<?> kind = of.getClass(); kind != null; kind = kind.getSuperclass())
            for (Field one : kind.getDeclaredFields())
                if (one.getName().equals(name)) {
                    one.setAccessible(true);
                    return one.get(of);
                }
        throw new NoSuchFieldException(name);
    }

    private static Object call(Object of, String name, Object... given) throws Exception {
        for (Class<?> kind = of.getClass(); kind != null; kind = kind.getSuperclass())
            for (Method one : kind.getDeclaredMethods())
                if (one.getName().equals(name) && one.getParameterCount() == given.length) {
                    one.setAccessible(true);
                    return one.invoke(of, given);
                }
        throw new NoSuchMethodException(name);
    }
}
