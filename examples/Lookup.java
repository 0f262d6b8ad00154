// Lookup.java - print the server of each key. For Java 11 and newer, without libraries.
//
//     java Lookup.java /etc/ketama.servers <keys
//
// Reads keys, one per line, and prints key, point and address, separated by tabs. It shares the
// algorithm with Python, PHP and C, but not their memory: it reads the file once and builds its
// own ring.
import static java.nio.charset.StandardCharsets.*;
import java.io.*;
import java.math.BigInteger;
import java.nio.*;
import java.nio.file.*;
import java.security.*;
import java.util.*;
import java.util.regex.*;

public final class Lookup {
    private static final String TEXT = "([^# \t\r\0][^ \t\r\0]{0,254})", BLANKS = "[ \t]+";
    private static final Pattern SKIPPED = Pattern.compile("(#[^\0]*|[ \t]*)\r?"),
        SERVER = Pattern.compile("[ \t]*" + TEXT + BLANKS + "([0-9]+)(?:" + BLANKS + TEXT + ")?"
            + "(?:" + BLANKS + "#[^\0]*|[ \t]*)\r?"); // address weight [name] [# comment]
    // The options that a file may state in its first line: this program has this dialect alone.
    private static final Set<String> SPOKEN = Set.of("profile=libketama", "hash=md5");
    private final TreeMap<Long, String> ring = new TreeMap<>(); // longs: points are unsigned
    private final MessageDigest md5 = MessageDigest.getInstance("MD5"); // not thread-safe

    Lookup(String file) throws IOException, NoSuchAlgorithmException {
        var addresses = new ArrayList<String>();
        var hashed = new ArrayList<String>(); // the name, or else the address
        var named = new HashMap<String, Boolean>(); // whether a text that is hashed is a name
        var weights = new ArrayList<BigInteger>();
        var total = BigInteger.ZERO; // exact: may exceed a long
        // One char per byte, because addresses are limited, and hashed, as bytes.
        if (Files.exists(Path.of(file)) && !Files.isRegularFile(Path.of(file)))
            throw new IOException(file + ": is not a regular file");
        String[] lines = new String(Files.readAllBytes(Path.of(file)), ISO_8859_1).split("\n", -1);
        if (lines[0].startsWith("\u00ef\u00bb\u00bf")) lines[0] = lines[0].substring(3); // a BOM
        for (int i = 0; i < lines.length; i++) {
            Matcher server = SERVER.matcher(lines[i]);
            if (lines[i].matches("#ketama[ \t].*\r?")) checkStated(file, i, lines[i]);
            if (SKIPPED.matcher(lines[i]).matches()) continue;
            if (!server.matches()) throw invalid(file, i);
            var weight = new BigInteger(server.group(2));
            total = total.add(weight);
            if (weight.signum() == 0 || weight.bitLength() > 63 || total.bitLength() > 64)
                throw invalid(file, i);
            String address = utf8(server.group(1)), name = utf8(server.group(3));
            if (address == null || server.group(3) != null && name == null)
                throw invalid(file, i);
            addresses.add(address);
            Boolean other = named.put(name != null ? name : address, name != null);
            if (other != null && (other || name != null))
                throw new IOException(file + ":" + (i + 1) + ": names must be unique");
            hashed.add(name != null ? name : address);
            weights.add(weight);
        }
        if (addresses.isEmpty()) throw new IOException(file + ": no servers");
        for (int i = 0; i < addresses.size(); i++) {
            // Each rounding to float is part of the answer (as 61 equal servers show): keep them.
            float part = weights.get(i).floatValue() / total.floatValue();
            int labels = (int) (float) ((double) part * 40.0 * (double) (float) addresses.size());
            for (int k = 0; k < labels; k++)
                for (var points = md5(hashed.get(i) + "-" + k); points.hasRemaining();)
                    // of equal points, the first in the order of the file wins
                    ring.putIfAbsent(Integer.toUnsignedLong(points.get()), addresses.get(i));
        }
    }

    private static void checkStated(String file, int i, String line) throws IOException {
        if (i > 0) throw new IOException(file + ":" + (i + 1) + ": options must be on the first line");
        var stated = new HashSet<String>();
        for (String option : line.substring("#ketama".length()).trim().split("[ \t]+")) {
            option = option.replaceFirst("^([a-z_]+)=\"([^\"]*)\"$", "$1=$2");
            if (!option.isEmpty() && !(SPOKEN.contains(option) && stated.add(option)))
                throw new IOException(file + ":1: unexpected option '" + option
                    + "': this program has the dialect 'profile=libketama' alone");
        }
    }

    private static IOException invalid(String file, int i) {
        return new IOException(file + ":" + (i + 1) + ": must be 'address weight [name]', in UTF-8");
    }

    /** Decodes text that has one char per byte; returns null if it is not UTF-8. */
    private static String utf8(String chars) {
        if (chars == null) return null;
        byte[] bytes = chars.getBytes(ISO_8859_1);
        var text = new String(bytes, UTF_8); // differs if the bytes are not UTF-8
        return Arrays.equals(bytes, text.getBytes(UTF_8)) ? text : null;
    }

    private IntBuffer md5(String text) {
        var digest = ByteBuffer.wrap(md5.digest(text.getBytes(UTF_8)));
        return digest.order(ByteOrder.LITTLE_ENDIAN).asIntBuffer();
    }

    /** Returns the first point at or after the key's hash, or else the smallest, and its address.
     *  Keys are text: other bytes would need a find(byte[]), as Java changes them when reading. */
    Map.Entry<Long, String> find(String key) {
        var found = ring.ceilingEntry(Integer.toUnsignedLong(md5(key).get()));
        return found != null ? found : ring.firstEntry();
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 1) {
            System.err.println("usage: java Lookup.java SERVERFILE");
            System.exit(2);
        }
        try {
            var lookup = new Lookup(args[0]);
            var out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, UTF_8);
            new Scanner(System.in, UTF_8).findAll("[^\n]*\n|[^\n]+").forEach(line -> {
                String key = line.group().replace("\n", "");
                var found = lookup.find(key);
                out.print(key + "\t" + found.getKey() + "\t" + found.getValue() + "\n");
                if (out.checkError()) System.exit(1); // the reader is gone
            });
        } catch (IOException e) {
            System.err.println(e instanceof FileSystemException ? e : e.getMessage());
            System.exit(1);
        }
    }
}
