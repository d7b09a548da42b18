"use client";

/** Hooks for React, 18 or newer. */

import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { type Client, type FollowOptions, follow, type SubmitOptions } from "./client.js";
import type { Input, Json } from "./types.js";
import { type PredictionState, Watch } from "./watch.js";

export type { PredictionState } from "./watch.js";

export interface UsedPrediction<T = Json> extends PredictionState<T> {
  /** Asks the server to cancel it; that needs the client's API key. */
  cancel: () => Promise<void>;
}

export interface UsedRun<T = Json> extends UsedPrediction<T> {
  /** Submits these inputs and follows the prediction. One that was followed before goes on without being shown. */
  run: (input?: { [name: string]: Input }, options?: Omit<SubmitOptions, "signal">) => void;
  /** Stops following, and shows nothing. */
  reset: () => void;
}

/**
 * Follows a prediction as long as the component is there.
 *
 * @param client None is needed for the URL of a stream that has a token. It may be made anew with each render.
 * @param prediction Its id, or the URL of its stream; nothing is followed while it is null or undefined.
 */
export function usePrediction<T = Json>(
  client: Client | null | undefined,
  prediction: string | null | undefined,
  { after }: Pick<FollowOptions, "after"> = {},
): UsedPrediction<T> {
  // Another prediction is another watch, so that nothing of the one before is shown even once.
  // biome-ignore lint/correctness/useExhaustiveDependencies: these two say what is watched
  const watch = useMemo(() => new Watch<T>(), [client?.url, prediction]);
  const latest = useLatest({ client, after });
  useEffect(() => {
    if (!prediction) return;
    const { client, after } = latest.current;
    return watch.start(client ? client.follow<T>(prediction, { after }) : follow<T>(prediction, { after }));
  }, [watch, prediction, latest]);
  return { ...useWatched(watch), cancel: watch.cancel };
}

/**
 * Runs a model when it is told to, and follows the prediction as long as the component is there. The prediction goes on
 * without it, but with `on_disconnect: "cancel"`.
 */
export function useRun<T = Json>(client: Client, model: string): UsedRun<T> {
  const [watch] = useState(() => new Watch<T>());
  const latest = useLatest({ client, model });
  useEffect(() => () => watch.stop(), [watch]);
  const run = useCallback<UsedRun<T>["run"]>(
    (input, options) => {
      const { client, model } = latest.current;
      watch.start(client.stream<T>(model, input, options));
    },
    [watch, latest],
  );
  return { ...useWatched(watch), run, cancel: watch.cancel, reset: watch.reset };
}

function useWatched<T>(watch: Watch<T>): PredictionState<T> {
  return useSyncExternalStore(watch.subscribe, watch.state, watch.state);
}

/** What was given with the last render that is on the page. */
function useLatest<V>(value: V): { readonly current: V } {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
