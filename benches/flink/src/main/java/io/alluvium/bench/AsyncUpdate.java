package io.alluvium.bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.v2.ValueState;
import org.apache.flink.api.common.state.v2.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** Reads, changes and writes a value with the asynchronous state API (FLIP-424): other keys go on while a record waits. */
final class AsyncUpdate extends KeyedProcessFunction<Long, Long, Void> {
    private static final long serialVersionUID = 1;

    private final Values values;
    private transient ValueState<byte[]> state;
    private transient Script.Counter done;

    AsyncUpdate(Values values) {
        this.values = values;
    }

    @Override
    public void open(OpenContext context) {
        var descriptor = new ValueStateDescriptor<>("values", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
        state = getRuntimeContext().getState(descriptor);
        done = new Script.Counter(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
    }

    @Override
    public void processElement(Long key, Context context, Collector<Void> out) {
        if (Script.phase != Script.Phase.UPDATE) {
            state.asyncUpdate(values.first(key)).thenAccept(ignored -> done.increment());
            return;
        }
        state.asyncValue()
                .thenCompose(
                        value -> {
                            values.advance(key, value);
                            return state.asyncUpdate(value);
                        })
                .thenAccept(ignored -> done.increment());
    }
}
