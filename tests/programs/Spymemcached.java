import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.KetamaConnectionFactory;
import net.spy.memcached.KetamaNodeKeyFormatter.Format;
import net.spy.memcached.MemcachedNode;
import net.spy.memcached.NodeLocator;

/**
 * Answers the questions that peers/programs.py describes, by spymemcached. Usage: Spymemcached
 * FORMAT, the name of a KetamaNodeKeyFormatter.Format.
 */
final class Spymemcached {
    private static List<String> paragraph(BufferedReader input) throws IOException {
        List<String> lines = new ArrayList<>();
        String line;
        while ((line = input.readLine()) != null && !line.isEmpty()) lines.add(line);
        return lines;
    }

    /** Returns an IP address, name/ip, or a name with an address of its own, without DNS. */
    private static InetAddress address(String host, int place) throws IOException {
        int slash = host.indexOf('/');
        if (slash >= 0) {
            byte[] ip = InetAddress.getByName(host.substring(slash + 1)).getAddress();
            return InetAddress.getByAddress(host.substring(0, slash), ip);
        }
        boolean isIp = host.contains(":") || host.matches("[0-9.]+");
        return isIp
                ? InetAddress.getByName(host)
                : InetAddress.getByAddress(host, new byte[] {10, 0, 0, (byte) place});
    }

    private static void answer(
            List<String> servers, List<String> keys, Format format, PrintStream output)
            throws IOException {
        Map<InetSocketAddress, Integer> weights = new HashMap<>();
        List<InetSocketAddress> addresses = new ArrayList<>();
        for (String line : servers) {
            String[] parts = line.split("\t");
            InetSocketAddress at =
                    new InetSocketAddress(address(parts[0], addresses.size()), Integer.parseInt(parts[1]));
            addresses.add(at);
            weights.put(at, Integer.parseInt(parts[2]));
        }
        if (weights.values().stream().allMatch(weight -> weight == 1)) weights.clear();
        KetamaConnectionFactory factory =
                new KetamaConnectionFactory(
                        1, 1024, 1000, DefaultHashAlgorithm.KETAMA_HASH, format, weights);
        List<MemcachedNode> nodes = new ArrayList<>();
        Map<MemcachedNode, Integer> places = new IdentityHashMap<>();
        List<SocketChannel> channels = new ArrayList<>();
        for (InetSocketAddress at : addresses) {
            SocketChannel channel = SocketChannel.open();
            channels.add(channel);
            MemcachedNode node = factory.createMemcachedNode(at, channel, 1024);
            places.put(node, nodes.size());
            nodes.add(node);
        }
        NodeLocator locator = factory.createLocator(nodes);
        for (String key : keys) output.println(places.get(locator.getPrimary(key)));
        for (SocketChannel channel : channels) channel.close();
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader input =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        Format format = Format.valueOf(arguments[0]);
        List<String> servers;
        while (!(servers = paragraph(input)).isEmpty())
            answer(servers, paragraph(input), format, output);
        output.flush();
    }
}
