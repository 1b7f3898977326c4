package io.alluvium.bench;

import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;

/**
 * How each backend is set. All have the managed memory of the case, compress with LZ4 and have filters of 10 bits a key, as
 * Alluvium does; {@code README.md} says why each setting is there.
 */
final class Backends {
    private Backends() {}

    static Configuration configuration(Arguments arguments) {
        return configuration(arguments, 0);
    }

    /** Of the so-many-th run of one job: nothing that a run has on its disks is there for the next one, but checkpoints. */
    static Configuration configuration(Arguments arguments, int run) {
        var configuration = new Configuration();
        set(configuration, "state.backend.type", arguments.backend().startsWith("forst") ? "forst" : arguments.backend());
        set(configuration, "taskmanager.memory.managed.size", arguments.memoryBytes() + "b");
        set(configuration, "taskmanager.memory.network.min", "64m");
        set(configuration, "taskmanager.memory.network.max", "64m");
        set(configuration, "pipeline.object-reuse", true);
        set(configuration, "execution.checkpointing.dir", checkpoints(arguments));
        set(configuration, "io.tmp.dirs", folder(arguments, "tmp", run));
        switch (arguments.backend()) {
            case "none", "hashmap" -> set(configuration, "state.backend.type", "hashmap");
            case "rocksdb" -> rocksdb(configuration, arguments, run);
            case "forst" -> forst(configuration, arguments, run, "local-dir");
            case "forst-remote" -> remote(configuration, arguments, run);
            default -> throw new IllegalArgumentException(
                    "--backend " + arguments.backend() + " is none of none, hashmap, rocksdb, forst, forst-remote");
        }
        return configuration;
    }

    private static void rocksdb(Configuration configuration, Arguments arguments, int run) {
        set(configuration, "state.backend.rocksdb.localdir", folder(arguments, "rocksdb", run));
        lsm(configuration, "state.backend.rocksdb.");
    }

    private static void forst(Configuration configuration, Arguments arguments, int run, String primary) {
        set(configuration, "state.backend.forst.local-dir", folder(arguments, "forst", run));
        set(configuration, "state.backend.forst.primary-dir", primary);
        lsm(configuration, "state.backend.forst.");
    }

    /**
     * Files are on the store, {@code --latency-micros} away, where checkpoints are as well: so they need not be copied. A disk
     * near by caches {@code --cache-bytes} of them.
     */
    private static void remote(Configuration configuration, Arguments arguments, int run) {
        forst(configuration, arguments, run, "checkpoint-dir");
        set(configuration, "state.backend.forst.sync.enforce-local", false);
        set(configuration, "state.backend.forst.cache.dir", folder(arguments, "cache", run));
        set(configuration, "state.backend.forst.cache.size-based-limit", arguments.cacheBytes() + "b");
        // Reads wait on threads, three by default: three in a millisecond.
        set(configuration, "state.backend.forst.executor.read-io-parallelism", 64);
        // The disk of a benchmark is not to be kept free for others.
        set(configuration, "state.backend.forst.cache.reserve-size", "0b");
    }

    /** Both are RocksDB underneath. */
    private static void lsm(Configuration configuration, String prefix) {
        // Without it, indexes and filters of a small memory push each other out whole, and throughput collapses.
        set(configuration, prefix + "memory.partitioned-index-filters", true);
        set(configuration, prefix + "use-bloom-filter", true);
        set(configuration, prefix + "compression.per.level", "LZ4_COMPRESSION");
        set(configuration, prefix + "log.level", "ERROR_LEVEL");
    }

    /** The store: what is far away and whose requests are counted. */
    static String checkpoints(Arguments arguments) {
        SlowFileSystem.latencyMicros = arguments.latencyMicros();
        return SlowFileSystem.SCHEME + "://" + Path.of(arguments.dir()).toAbsolutePath().resolve("checkpoints");
    }

    private static Path folder(Arguments arguments, String name, int run) {
        return Path.of(arguments.dir()).toAbsolutePath().resolve(name + run);
    }

    private static void set(Configuration configuration, String option, Object value) {
        configuration.setString(option, String.valueOf(value));
    }
}
