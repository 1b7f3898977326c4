package io.alluvium.bench;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.graph.StreamGraph;

/** The job: a source of keys, an exchange by key, a function that reads, changes and writes a value, and a sink of nothing. */
final class UpdateJob {
    private UpdateJob() {}

    static StreamGraph graph(Arguments arguments, Configuration configuration) {
        var environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(arguments.parallelism());
        environment.setMaxParallelism(128);
        var keys = new KeySource(arguments.keys(), arguments.seed());
        var source = new DataGeneratorSource<>(keys, Long.MAX_VALUE, Types.LONG);
        KeyedStream<Long, Long> keyed = environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "keys")
                .keyBy(key -> key, Types.LONG);
        boolean isAsync = arguments.api().equals("async");
        (isAsync ? keyed.enableAsyncState() : keyed)
                .process(function(arguments, isAsync), Types.VOID)
                .sinkTo(new DiscardingSink<>());
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
