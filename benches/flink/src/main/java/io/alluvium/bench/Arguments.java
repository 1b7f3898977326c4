package io.alluvium.bench;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The options of one measurement, each with a value: {@code --keys 1000000 --backend rocksdb}. */
record Arguments(
        String backend,
        String api,
        long keys,
        int valueBytes,
        long seed,
        int parallelism,
        long memoryBytes,
        long cacheBytes,
        long latencyMicros,
        long updatesPerSecond,
        long intervalMillis,
        List<Integer> restoreAt,
        int warmUpSeconds,
        int seconds,
        String dir) {

    static Arguments parse(String[] line) {
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at < line.length; at += 2) {
            if (!line[at].startsWith("--") || at + 1 == line.length) {
                throw new IllegalArgumentException(line[at] + " is no option with a value");
            }
            given.put(line[at].substring(2), line[at + 1]);
        }
        var arguments = new Arguments(
                given.getOrDefault("backend", "hashmap"),
                given.getOrDefault("api", "sync"),
                number(given, "keys", 1_000_000),
                (int) number(given, "value-bytes", 100),
                number(given, "seed", 1),
                (int) number(given, "parallelism", 1),
                number(given, "memory-bytes", 1L << 30),
                number(given, "cache-bytes", 256L << 20),
                number(given, "latency-micros", 0),
                number(given, "updates-per-second", 10_000),
                number(given, "interval-millis", 1000),
                Arrays.stream(given.getOrDefault("restore-at", "1,2,1").split(",")).map(Integer::valueOf).toList(),
                (int) number(given, "warm-up", 5),
                (int) number(given, "seconds", 10),
                given.getOrDefault("dir", "/tmp/alluvium-flink"));
        given.keySet().removeAll(Arrays.stream(Arguments.class.getRecordComponents())
                .map(component -> option(component.getName()))
                .toList());
        if (!given.isEmpty()) {
            throw new IllegalArgumentException("there are no options " + given.keySet());
        }
        return arguments;
    }

    /** The same at another parallelism. */
    Arguments at(int other) {
        return new Arguments(
                backend, api, keys, valueBytes, seed, other, memoryBytes, cacheBytes, latencyMicros, updatesPerSecond,
                intervalMillis, restoreAt, warmUpSeconds, seconds, dir);
    }

    /** What was asked for, as figures have it. */
    Figures figures(String name) {
        return new Figures()
                .with("case", name)
                .with("backend", backend)
                .with("mode", api)
                .with("keys", keys)
                .with("value_bytes", valueBytes)
                .with("parallelism", parallelism)
                .with("seed", seed)
                .with("memory_bytes", memoryBytes)
                .with("cache_size_bytes", backend.equals("forst-remote") ? cacheBytes : null)
                .with("latency_micros", latencyMicros);
    }

    private static String option(String name) {
        return name.equals("warmUpSeconds") ? "warm-up" : name.replaceAll("([A-Z])", "-$1").toLowerCase();
    }

    private static long number(Map<String, String> given, String name, long otherwise) {
        return given.containsKey(name) ? Long.parseLong(given.get(name)) : otherwise;
    }
}
