import cds.aladin.Aladin;
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
