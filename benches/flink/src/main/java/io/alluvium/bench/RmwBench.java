package io.alluvium.bench;

import org.apache.flink.runtime.util.EnvironmentInformation;

/**
 * Keyed read-modify-write in a local mini cluster: loads all keys, waits until the process is quiet, warms up, measures.
 *
 * <p>The last line of stdout is one object of JSON; without one the job failed, and stderr says why. {@code
 * operator/src/main.rs} does the same with Alluvium.
 */
public final class RmwBench {
    private RmwBench() {}

    public static void main(String[] line) {
        Ending.after(() -> measure(Arguments.parse(line)));
    }

    private static Figures measure(Arguments arguments) throws Exception {
        var configuration = Backends.configuration(arguments);
        var cluster = new Cluster(configuration, arguments.parallelism());
        var keys = new KeySource(arguments.keys(), arguments.seed());
        long started = System.nanoTime();
        cluster.submit(UpdateJob.graph(arguments, configuration, keys, null));
        cluster.await(() -> Script.done() >= arguments.keys());
        double loadSeconds = (System.nanoTime() - started) / 1e9;
        Script.enter(Script.Phase.REST);
        cluster.awaitQuiet();
        Script.enter(Script.Phase.UPDATE);
        cluster.pass(arguments.warmUpSeconds() * 1000L);
        long cpu = Figures.cpuNanos();
        long begun = System.nanoTime();
        long before = Script.done();
        cluster.pass(arguments.seconds() * 1000L);
        long operations = Script.done() - before;
        double seconds = (System.nanoTime() - begun) / 1e9;
        cpu = Figures.cpuNanos() - cpu;
        if (operations == 0) {
            throw new IllegalStateException("not one record was done within " + seconds + " s");
        }
        return arguments.figures("job-rmw")
                .with("operations", operations)
                .with("seconds", seconds)
                .with("operations_per_second", operations / seconds)
                .with("cpu", new Figures().with("micros_per_operation", cpu / 1e3 / operations))
                .with("load", new Figures()
                        .with("seconds", loadSeconds)
                        .with("keys_per_second", arguments.keys() / loadSeconds))
                .with("peak_rss_bytes", Figures.peakRssBytes())
                .with("versions", versions());
    }

    static Figures versions() {
        return new Figures()
                .with("flink", EnvironmentInformation.getVersion())
                .with("java", System.getProperty("java.version"));
    }
}
