package io.alluvium.bench;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiterStrategy;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.graph.StreamGraph;

/** The job: a source of keys, an exchange by key, a function that reads, changes and writes a value, and a sink of nothing. */
final class UpdateJob {
    private UpdateJob() {}

    static StreamGraph graph(
            Arguments arguments,
            Configuration configuration,
            GeneratorFunction<Long, Long> keys,
            RateLimiterStrategy<?> pace) {
        var environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(arguments.parallelism());
        environment.setMaxParallelism(128);
        var source = pace == null
                ? new DataGeneratorSource<>(keys, Long.MAX_VALUE, Types.LONG)
                : new DataGeneratorSource<>(keys, Long.MAX_VALUE, pace, Types.LONG);
        // One source of a job that is restored: at another parallelism some would have no split and end at once, and Flink
        // neither takes a checkpoint while a task ends nor restores one of which some subtasks have ended at another parallelism.
        int sources = pace == null ? arguments.parallelism() : 1;
        KeyedStream<Long, Long> keyed = environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "keys")
                .setParallelism(sources)
                .uid("keys")
                .keyBy(key -> key, Types.LONG);
        boolean isAsync = arguments.api().equals("async");
        (isAsync ? keyed.enableAsyncState() : keyed)
                .process(function(arguments, isAsync), Types.VOID)
                .uid("update")
                .sinkTo(new DiscardingSink<>())
                .uid("nothing");
        return environment.getStreamGraph();
    }

    private static KeyedProcessFunction<Long, Long, Void> function(Arguments arguments, boolean isAsync) {
        if (arguments.backend().equals("none")) {
            return new NoState();
        }
        var values = new Values(arguments.valueBytes());
        return isAsync ? new AsyncUpdate(values) : new SyncUpdate(values);
    }
}
