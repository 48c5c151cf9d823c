-- What became of one asset: deleted at Mux, or changed there. All syncs of its connection hear.
--#include filters
--#include assets
--#include objects

local done = { deleted_objects = 0, eligible = json.array() }

local function unindex(sync, whose)
  for _, object in ipairs(objects_of(sync, { input.asset_id })[input.asset_id] or {}) do
    if whose(sync, object) and delete_object(sync, object) then
      done.deleted_objects = done.deleted_objects + 1
    end
  end
end

if input.event == "deleted" then
  local cleared = {}
  for _, sync in ipairs(input.syncs) do
    local place = json.encode({ sync.mixpeek_account, sync.namespace or false, sync.bucket_id })
    if not cleared[place] then
      cleared[place] = true
      unindex(sync, function() return true end)
    end
  end
  return done
end

local ok, found = pcall(calls_of("mux", input.mux_account).get_asset, { asset_id = input.asset_id })
if not ok and found.status ~= 404 then
  error(found, 0)
end
local asset = ok and found.data or nil
for _, sync in ipairs(input.syncs) do
  if asset and matches(asset, captured_of(asset), sync.metadata_filters) then
    table.insert(done.eligible, sync.sync_config_id)
  elseif sync.reconcile_on_sync then
    unindex(sync, is_own)
  end
end
return done
