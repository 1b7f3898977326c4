package io.alluvium.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;

/** What the process took, and figures as a line of JSON with the names that {@code alluvium bench --json} has. */
final class Figures {
    private static final OperatingSystemMXBean SYSTEM =
            ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);

    private final Map<String, Object> figures = new LinkedHashMap<>();

    /** CPU of all threads, of the garbage collector and the compiler too. */
    static long cpuNanos() {
        return SYSTEM.getProcessCpuTime();
    }

    static long peakRssBytes() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        throw new IOException("/proc/self/status has no line VmHWM, so the peak of memory is unknown");
    }

    Figures with(String name, Object figure) {
        figures.put(name, figure);
        return this;
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    private static String json(Object figure) {
        return figure instanceof String text ? quoted(text) : String.valueOf(figure);
    }

    @Override
    public String toString() {
        return figures.entrySet().stream()
                .map(entry -> quoted(entry.getKey()) + ':' + json(entry.getValue()))
                .collect(Collectors.joining(",", "{", "}"));
    }
}
