// A second implementation before our OPC UA bridge: node-opcua. Prints what it found as JSON.
//   node tests/opcua_client.js opc.tcp://127.0.0.1:4840
"use strict";
const {
  AttributeIds, ClientMonitoredItem, ClientSubscription, DataType, MessageSecurityMode, OPCUAClient,
  SecurityPolicy, TimestampsToReturn, VariantArrayType, constructEventFilter, resolveNodeId,
} = require("node-opcua-client");

const COMPANION = "http://opcfoundation.org/UA/MachineVision";

async function main(url) {
  const client = OPCUAClient.create({
    endpointMustExist: false, securityMode: MessageSecurityMode.None,
    securityPolicy: SecurityPolicy.None, connectionStrategy: { maxRetry: 0 },
  });
  await client.connect(url);
  const session = await client.createSession();
  const names = await session.readNamespaceArray();
  const own = names.indexOf("urn:kenpin:line"), companion = names.indexOf(COMPANION);
  const path = (text) => resolveNodeId(`ns=${own};s=VisionSystem.${text}`);
  // Bad until the bridge has heard its line.
  const state = async (machine) => {
    for (;;) {
      const found = await session.read({ nodeId: path(`${machine}.CurrentState`) });
      if (found.statusCode.isGood()) return found.value.value.text;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const outer = await state("VisionStateMachine");
  const automatic = "VisionStateMachine.AutomaticModeStateMachine";
  const inner = await state(automatic);

  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 20, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10,
    publishingEnabled: true,
  });
  const wanted = ["ResultId", "MeasId", "PartId", "JobId", "InternalRecipeId", "ResultState",
    "IsSimulated", "ResultContent"];
  const filter = constructEventFilter(wanted.map((name) => `${companion}:${name}`));
  const item = ClientMonitoredItem.create(
    subscription, { nodeId: resolveNodeId(`ns=${own};s=VisionSystem`), attributeId: AttributeIds.EventNotifier },
    { queueSize: 100, discardOldest: true, filter }, TimestampsToReturn.Both);
  const heard = new Promise((resolve) => item.on("changed", (fields) => {
    const found = Object.fromEntries(wanted.map((name, n) => [name, fields[n].value]));
    if (found.ResultId) resolve(found);
  }));
  const conditions = ClientMonitoredItem.create(
    subscription, { nodeId: resolveNodeId(`ns=${own};s=VisionSystem`), attributeId: AttributeIds.EventNotifier },
    { queueSize: 100, discardOldest: true,
      filter: constructEventFilter(["ConditionName", "Retain", "Message", "EventType"]) },
    TimestampsToReturn.Both);
  // What lies between the RefreshStartEvent and the RefreshEndEvent: which conditions are open.
  const [refreshBegins, refreshEnds] = ["i=2787", "i=2788"];
  let open = null, refreshed;
  const refresh = new Promise((resolve) => { refreshed = resolve; });
  const condition = new Promise((resolve) => conditions.on("changed", ([name, retain, message, type]) => {
    const kind = type.value && type.value.toString().replace("ns=0;", "");
    if (kind === refreshBegins) open = new Set();
    if (kind === refreshEnds) refreshed([...open]);
    if (open && name.value) open.add(`${name.value} ${retain.value}`);
    if (name.value === "camera") resolve({ retain: retain.value, message: message.value.text });
  }));
  await Promise.all([item, conditions].map((one) => new Promise((resolve) => one.on("initialized", resolve))));

  const made = async (number, Id) => ({
    dataType: DataType.ExtensionObject,
    value: await session.constructExtensionObject(resolveNodeId(`ns=${companion};i=${number}`), { id: Id }),
  });
  const called = await session.call({
    objectId: path(automatic), methodId: path(`${automatic}.StartSingleJob`),
    inputArguments: [
      await made(3015, "4711"), await made(3004, "left"), await made(3002, ""), await made(3003, ""),
      { dataType: DataType.Variant, arrayType: VariantArrayType.Array, value: [] },
    ],
  });
  const result = await heard;

  // The other methods, and a condition; what each gives last is its Error.
  const call = async (object, method, given) => {
    const found = await session.call({
      objectId: path(object), methodId: path(`${object}.${method}`), inputArguments: given,
    });
    return found.outputArguments.map((one) => one.value);
  };
  const last = (values) => values[values.length - 1];
  const number = (value, dataType) => ({ dataType, arrayType: VariantArrayType.Scalar, value });
  const cause = [number([0, 0], DataType.Int64), number("", DataType.String)];
  const outerPath = "VisionStateMachine";
  const errors = {
    stop: last(await call(automatic, "Stop", cause)), abort: last(await call(automatic, "Abort", cause)),
    reset: last(await call(outerPath, "Reset", cause)), halt: last(await call(outerPath, "Halt", cause)),
    select: last(await call(outerPath, "SelectModeAutomatic", [])),
  };
  const none = number(0, DataType.UInt32), forever = number(0, DataType.Int32);
  const recipes = await call("RecipeManagement", "GetRecipeListFiltered", [
    await made(3002, ""), await made(3003, ""), number(2, DataType.Int32), none, none, forever]);
  const next = "next@0123456789ab";
  const prepared = await call("RecipeManagement", "PrepareRecipe", [await made(3002, ""), await made(3013, next)]);
  const activated = await call("Line", "ActivateRecipe", [await made(3013, next)]);
  errors.prepare = last(prepared);
  errors.activate = last(activated);
  const results = await call("ResultManagement", "GetResultListFiltered", [
    forever, await made(3015, ""), await made(3004, ""), await made(3002, ""), await made(3013, ""),
    await made(3008, ""), await made(3008, ""), await made(3003, ""), await made(3016, ""), none, none, forever]);

  const alarm = await condition;
  await session.call({
    objectId: resolveNodeId("i=2782"), methodId: resolveNodeId("i=3875"),
    inputArguments: [number(subscription.subscriptionId, DataType.UInt32)],
  });

  process.stdout.write(JSON.stringify({
    outer, inner, status: called.statusCode.name, error: called.outputArguments[1].value,
    job: called.outputArguments[0].value.id, errors, recipes: recipes[3].map((recipe) => recipe.id),
    results: last(results), condition: alarm, refreshed: await refresh,
    result: {
      id: result.ResultId.id, meas: result.MeasId.id, part: result.PartId.id, job: result.JobId.id,
      recipe: result.InternalRecipeId.id, state: result.ResultState, simulated: result.IsSimulated,
      verdict: result.ResultContent[0].value, reason: result.ResultContent[2].value,
    },
  }) + "\n");
  await subscription.terminate();
  await session.close();
  await client.disconnect();
}

main(process.argv[2]).then(() => process.exit(0), (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
